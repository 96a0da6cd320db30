from .page import REPORT, write_report

__all__ = ['REPORT', 'write_report']

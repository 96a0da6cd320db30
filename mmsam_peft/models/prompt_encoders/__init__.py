from .prompt_encoder import PromptEncoder
from .prompts import Prompts

__all__ = ['PromptEncoder', 'Prompts']

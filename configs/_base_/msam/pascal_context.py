# mSAM on PASCAL-Context
_base_ = [
    '../default_runtime.py', '../models/msam.py', '../datasets/pascal_context.py',
    '../schedules/adam_200e.py']
model = dict(tasks=_base_.tasks)

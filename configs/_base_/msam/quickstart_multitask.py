# The small model on generated shapes
_base_ = [
    '../default_runtime.py', '../models/msam_quickstart.py', '../datasets/quickstart_multitask.py',
    '../schedules/quickstart_multitask.py']
model = dict(tasks=_base_.tasks)
randomness = dict(seed=0)

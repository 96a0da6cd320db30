# mSAM on NYUv2
_base_ = [
    '../default_runtime.py', '../models/msam.py', '../datasets/nyuv2.py',
    '../schedules/adam_200e.py']
model = dict(tasks=_base_.tasks)

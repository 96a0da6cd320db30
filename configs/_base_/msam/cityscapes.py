# mSAM on CityScapes
_base_ = [
    '../default_runtime.py', '../models/msam.py', '../datasets/cityscapes.py',
    '../schedules/adam_200e.py']
model = dict(tasks=_base_.tasks)

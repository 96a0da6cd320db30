# python tools/train.py configs/fact/quickstart.py
_base_ = ['../_base_/default_runtime.py', '../_base_/models/sam_quickstart.py', '../_base_/datasets/quickstart.py',
          '../_base_/schedules/quickstart.py']
model = dict(backbone=dict(peft=dict(type='FacT')))
randomness = dict(seed=0)

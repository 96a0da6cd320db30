# python tools/train.py configs/hf_peft/quickstart.py
_base_ = ['../_base_/default_runtime.py', '../_base_/models/sam_quickstart.py', '../_base_/datasets/quickstart.py',
          '../_base_/schedules/quickstart.py']
model = dict(backbone=dict(peft=dict(type='HFPeft', config=dict(peft_type='LOHA', r=4, alpha=8))))
randomness = dict(seed=0)

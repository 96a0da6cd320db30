# python tools/train.py configs/hf_peft/camo.py
_base_ = '../_base_/sam/camo.py'
model = dict(backbone=dict(peft=dict(type='HFPeft', config=dict(peft_type='LOHA', r=4, alpha=8))))

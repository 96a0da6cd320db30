# python tools/train.py configs/hf_peft/polyp.py
_base_ = '../_base_/sam/polyp.py'
model = dict(backbone=dict(peft=dict(type='HFPeft', config=dict(peft_type='LOHA', r=4, alpha=8))))

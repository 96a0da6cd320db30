# python tools/train.py configs/hf_peft/leaf.py
_base_ = '../_base_/sam/leaf.py'
model = dict(backbone=dict(peft=dict(type='HFPeft', config=dict(peft_type='LOHA', r=4, alpha=8))))

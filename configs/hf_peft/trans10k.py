# python tools/train.py configs/hf_peft/trans10k.py
_base_ = '../_base_/sam/trans10k.py'
model = dict(backbone=dict(peft=dict(type='HFPeft', config=dict(peft_type='LOHA', r=4, alpha=8))))

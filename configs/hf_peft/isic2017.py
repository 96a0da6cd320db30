# python tools/train.py configs/hf_peft/isic2017.py
_base_ = '../_base_/sam/isic2017.py'
model = dict(backbone=dict(peft=dict(type='HFPeft', config=dict(peft_type='LOHA', r=4, alpha=8))))

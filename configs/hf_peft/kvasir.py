# python tools/train.py configs/hf_peft/kvasir.py
_base_ = '../_base_/sam/kvasir.py'
model = dict(backbone=dict(peft=dict(type='HFPeft', config=dict(peft_type='LOHA', r=4, alpha=8))))

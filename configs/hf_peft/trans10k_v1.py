# python tools/train.py configs/hf_peft/trans10k_v1.py
_base_ = '../_base_/sam/trans10k_v1.py'
model = dict(backbone=dict(peft=dict(type='HFPeft', config=dict(peft_type='LOHA', r=4, alpha=8))))

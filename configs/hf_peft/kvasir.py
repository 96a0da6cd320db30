# python tools/train.py configs/hf_peft/kvasir.py
_base_ = [
    '../_base_/default_runtime.py',
    '../_base_/models/sam_binary.py',
    '../_base_/datasets/kvasir.py',
    '../_base_/schedules/adamw_30e.py',
]
model = dict(backbone=dict(peft=dict(type='HFPeft', config=dict(peft_type='LOHA', r=4, alpha=8))))

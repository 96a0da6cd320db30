# SAM ViT-B with its mask decoder as a set of queries, whose number comes from the recipe
_base_ = 'sam.py'
model = dict(decode_head=dict(type='SAMMaskHead', loss_decode=dict(type='SetPredictionLoss')))
tta_model = dict(type='SegTTAModel')

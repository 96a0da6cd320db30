# SAM ViT-B with its mask decoder as a set of queries; the recipe sets their number
_base_ = 'sam.py'
model = dict(decode_head=dict(type='SAMMaskHead', loss_decode=dict(type='SetPredictionLoss')))
tta_model = dict(type='SegTTAModel')

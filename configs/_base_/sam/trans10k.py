# SAM on Trans10K-v2. 30 epochs are our choice: we know of no published number for this data set
_base_ = [
    '../default_runtime.py', '../models/sam_multiclass.py', '../datasets/trans10k.py',
    '../schedules/adamw_30e.py']
model = dict(decode_head=dict(num_classes=12, num_queries=24))

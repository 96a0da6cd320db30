# SAM on Trans10K, the first version. 30 epochs are our choice, as on Trans10K-v2
_base_ = [
    '../default_runtime.py', '../models/sam_multiclass.py', '../datasets/trans10k_v1.py',
    '../schedules/adamw_30e.py']
model = dict(decode_head=dict(num_classes=3, num_queries=6))

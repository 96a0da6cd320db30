# SAM on CamVid
_base_ = [
    '../default_runtime.py', '../models/sam_multiclass.py', '../datasets/camvid.py',
    '../schedules/adamw_30e.py']
model = dict(decode_head=dict(num_classes=11, num_queries=22))

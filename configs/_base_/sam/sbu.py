# SAM on shadows
_base_ = [
    '../default_runtime.py', '../models/sam_binary.py', '../datasets/sbu.py',
    '../schedules/adamw_30e.py']
max_epochs = 10
model = dict(decode_head=dict(loss_decode=dict(type='BalancedBCELoss')))

# The small model on generated roads
_base_ = [
    '../default_runtime.py', '../models/sam_quickstart.py', '../datasets/quickstart.py',
    '../schedules/quickstart.py']
randomness = dict(seed=0)

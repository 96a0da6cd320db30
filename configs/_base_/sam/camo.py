# SAM on camouflaged objects
_base_ = [
    '../default_runtime.py', '../models/sam_binary.py', '../datasets/camo.py',
    '../schedules/adamw_30e.py']
max_epochs = 20

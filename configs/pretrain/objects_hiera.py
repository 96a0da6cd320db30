# python tools/train.py configs/pretrain/objects_hiera.py
# Trains the quickstart's base model in SAM 2's shape; then
#     python tools/model_converters/export_base.py configs/pretrain/objects_hiera.py \
#         work_dirs/pretrain/objects_hiera/adapter_last.safetensors \
#         mmsam_peft/assets/quickstart_hiera.safetensors
_base_ = 'objects.py'
encoder = 'small_hiera'

default_scope = 'mmsam_peft'
env_cfg = dict(
    cudnn_benchmark=True,
    mp_cfg=dict(mp_start_method='fork', opencv_num_threads=0),
    dist_cfg=dict(backend='nccl'))
vis_backends = [dict(type='LocalVisBackend')]
visualizer = dict(type='SegLocalVisualizer', vis_backends=vis_backends, alpha=0.5, name='visualizer')
log_level = 'INFO'
load_from = None
resume = False
custom_hooks = [
    dict(type='CheckDataHook'), dict(type='FiniteHook'), dict(type='AdapterHook'), dict(type='PlainCheckpointHook'),
    dict(type='MetricModelHook'), dict(type='ProgressHook'), dict(type='ReportHook'), dict(type='SettingsHook')]

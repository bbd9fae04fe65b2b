# Switches, each also a line in a config of yours:
#   channels last   --cfg-options model.backbone.channels_last=True
#   AMP             --amp                (or optim_wrapper = dict(type='AmpOptimWrapper'); bfloat16 on a CPU)
#   TensorBoard     --tensorboard        (or visualizer = dict(vis_backends=[..., dict(type='TensorboardVisBackend')]))
#   other back end  --cfg-options env_cfg.dist_cfg.backend=gloo

# Makes `mmdensenet.X` known when another project's launcher reads this config.
custom_imports = dict(imports=['mmdensenet'], allow_failed_imports=False)

# ImageClassifier, ImageNet, Accuracy and so on are mmpretrain's; ours are written `mmdensenet.X`.
default_scope = 'mmpretrain'

default_hooks = dict(
    timer=dict(type='IterTimerHook'),
    logger=dict(type='LoggerHook', interval=50),
    param_scheduler=dict(type='ParamSchedulerHook'),
    checkpoint=dict(type='CheckpointHook', interval=1, max_keep_ckpts=3, save_best='auto'),
    sampler_seed=dict(type='DistSamplerSeedHook'),
    # a resumed run equals an uninterrupted one; a checkpoint inside an epoch every ten minutes and on SIGTERM
    exact_resume=dict(type='mmdensenet.ExactResumeHook', minutes=10),
    finite=dict(type='mmdensenet.FiniteHook'),  # stops at a loss that is NaN or infinite
    bad_images=dict(type='mmdensenet.BadImagesHook', policy='stop'),  # or 'skip', with a budget
    visualization=dict(type='mmdensenet.VisualizationHook', enable=False),
    progress=dict(type='mmdensenet.ProgressHook'),  # a live bar on a terminal
    curves=dict(type='mmdensenet.CurvesHook'),  # training_curves.png in the work directory
)

env_cfg = dict(
    cudnn_benchmark=False,
    mp_cfg=dict(mp_start_method='fork', opencv_num_threads=0),
    # A statement `import torch` would make this a config of mmengine's other, lazy style.
    dist_cfg=dict(backend='nccl' if __import__('torch').cuda.is_available() else 'gloo'),
)

visualizer = dict(type='mmdensenet.FastVisualizer', vis_backends=[dict(type='LocalVisBackend')])
log_level = 'INFO'
load_from = None
resume = False
randomness = dict(seed=None, deterministic=False)

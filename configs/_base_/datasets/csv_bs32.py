# Grey images with several labels, listed in data/csv/labels.csv: the columns image (below data/csv/images), patient,
# and one per label with 1, 0, -1 (uncertain) or nothing (missing). A tenth of the patients is for validation, a tenth
# for the test.
dataset_type = 'mmdensenet.CSVDataset'
data_root = 'data/csv'
label_columns = ['Atelectasis', 'Cardiomegaly', 'Consolidation', 'Edema', 'Pleural Effusion']
data_preprocessor = dict(num_classes=5, mean=[114.5], std=[57.6])  # of ImageNet's grey values

train_pipeline = [
    dict(type='mmdensenet.LoadGreyImage', window='full'),  # for CT, say, the window that matters: (-1000, 400)
    dict(type='RandomResizedCrop', scale=224, crop_ratio_range=(0.8, 1.0)),
    dict(type='PackInputs'),
]
test_pipeline = [
    dict(type='mmdensenet.LoadGreyImage', window='full'),
    dict(type='ResizeEdge', scale=256, edge='short'),
    dict(type='CenterCrop', crop_size=224),
    dict(type='PackInputs', meta_keys=('sample_idx', 'img_path', 'ori_shape', 'img_shape', 'group')),
]

csv = dict(
    type=dataset_type,
    data_root=data_root,
    ann_file='labels.csv',
    data_prefix='images',
    image_column='image',
    label_columns=label_columns,
    uncertain='ignore',  # or 'positive', 'negative'
    missing='ignore',
    split_by=dict(fractions=dict(train=0.8, val=0.1, test=0.1), group='patient', stratify=True, seed=0),
)

train_dataloader = dict(
    batch_size=32,
    num_workers=4,
    dataset=dict(csv, split='train', pipeline=train_pipeline),
    sampler=dict(type='DefaultSampler', shuffle=True),  # or dict(type='mmdensenet.BalancedSampler')
)
val_dataloader = dict(
    batch_size=32,
    num_workers=4,
    dataset=dict(csv, split='val', pipeline=test_pipeline, test_mode=True),
    sampler=dict(type='DefaultSampler', shuffle=False),
)
test_dataloader = dict(
    batch_size=32,
    num_workers=4,
    dataset=dict(csv, split='test', pipeline=test_pipeline, test_mode=True),
    sampler=dict(type='DefaultSampler', shuffle=False),
)
val_evaluator = dict(type='mmdensenet.RankingMetric')
test_evaluator = dict(type='mmdensenet.RankingMetric', bootstrap=1000, group='group')  # patients are resampled

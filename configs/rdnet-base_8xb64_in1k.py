"""RDNet-base ("DenseNets Reloaded", arXiv:2403.19588) on ImageNet-1k, the authors' 300 epochs with batch 512.

Expected: top-1 84.37% and top-5 96.88% at 224, of the authors' weights rdnet_base.nv_in1k as timm measures them; the
test is timm's, a crop of 0.9 and bicubic. tools/test.py takes the weights of timm and of the authors as they are.
No run of ours stands behind this config yet.

Hardware: 8 GPUs (memory and time not measured yet).
Train:    bash tools/dist_train.sh configs/rdnet-base_8xb64_in1k.py 8 --amp
Test:     python tools/test.py configs/rdnet-base_8xb64_in1k.py CHECKPOINT
"""

_base_ = [
    '_base_/models/rdnet-base.py',
    '_base_/datasets/imagenet_bs64_rand9.py',
    '_base_/schedules/imagenet_bs512_rdnet.py',
    '_base_/default_runtime.py',
]

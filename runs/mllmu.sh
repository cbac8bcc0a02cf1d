#!/bin/sh
# MLLMU-Bench (500 invented people, 153 celebrities): memorise, unlearn with every method, compare, report.
#
#   sh runs/mllmu.sh                                            Qwen2.5-VL-7B, forget_5, one GPU
#   HOST=llava-hf/llava-1.5-7b-hf OUT=runs/mllmu-llava sh runs/mllmu.sh
#
# BENCHMARK is the hub's name or a folder with its configs as parquet. Needs pip install 'cagul[baselines,benchmarks]'.
#
# ESTIMATES, nobody has run this on a GPU yet; counted as in fiubench.sh. Questions with a picture: about 13 a person, 653 people.
# GiB of GPU memory / hours, Qwen2.5-VL-7B (about 700 tokens a row with pictures of 700 pixels) on one H100:
#   memorise, LoRA of rank 128, 8,500 rows x 10 epochs        52 GiB    2.5 h  (twice: host and retain host)
#   unlearn, CAGUL's encoder and gate                         36 GiB    0.4 h
#   evaluate                                                  50 GiB    1 h    (two hosts in memory)
#   compare, one LoRA trial of gd or po                       52 GiB    0.2 h  (kl, npo, dpo, rmu: half as much time again)
#   compare, one _full trial                                 136 GiB    0.3 h  (an H200; leave them out with METHODS on 80 GiB)
#   compare, all methods: three rates and three seeds each              20 to 30 h
# LLaVA-1.5-7B: 6 GiB less, about the same hours. Disk: 16 GiB a host, three of them with the hub's, and 2 GiB of checkpoints.
set -eu

CAGUL=${CAGUL:-cagul}
HOST=${HOST:-Qwen/Qwen2.5-VL-7B-Instruct}
BENCHMARK=${BENCHMARK:-MLLMMU/MLLMU-Bench}
SET=${SET:-forget_5}
OUT=${OUT:-runs/mllmu}
DEVICE=${DEVICE:-cuda}
DTYPE=${DTYPE:-bfloat16}
METHODS=${METHODS:-all}
FORMAT=mllmu
COMPAT=""
UNSEEN="" # nobody: give some with UNSEEN="--unseen @list.txt", people of the retain set whom no training is to open
MEMORISE="--lora --set gradient_checkpointing=true --set accumulate=4"
UNLEARN="--set training.gradient_checkpointing=true"
COMPARE=""

. "$(dirname "$0")/tiny.sh"
. "$(dirname "$0")/experiment.sh"

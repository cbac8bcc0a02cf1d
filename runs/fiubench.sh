#!/bin/sh
# FIUBench (arXiv 2411.03554, 400 invented people): memorise, unlearn with every method, compare, report.
#
#   sh runs/fiubench.sh                                         LLaVA-1.5-7B, forget5, one GPU
#   HOST=Qwen/Qwen2.5-VL-7B-Instruct OUT=runs/fiubench-qwen sh runs/fiubench.sh
#   SET=forget10 METHODS=cagul,po,gd,retrain sh runs/fiubench.sh
#
# BENCHMARK is the hub's name or a folder with full.json, split.json and SFHQ.zip. Needs pip install 'cagul[baselines,benchmarks]'.
#
# ESTIMATES, nobody has run this on a GPU yet: counted from parameters and tokens (float32 for what is trained, Adam's two moments,
# 40 % of an H100's peak), not measured. GiB of GPU memory / hours, LLaVA-1.5-7B (about 620 tokens a row) on one H100:
#   memorise, LoRA of rank 128, 8,000 rows x 10 epochs        46 GiB    2 h    (twice: host and retain host)
#   unlearn, CAGUL's encoder and gate                         30 GiB    0.3 h
#   evaluate                                                  45 GiB    1 h    (two hosts in memory)
#   compare, one LoRA trial of gd or po                       46 GiB    0.2 h  (kl, npo, dpo, rmu: half as much time again)
#   compare, one _full trial                                 130 GiB    0.3 h  (an H200; leave them out with METHODS on 80 GiB)
#   compare, all methods: three rates and three seeds each              20 to 30 h
# Qwen2.5-VL-7B: the same memory plus 6 GiB; a picture of 1024 x 1024 takes 1,369 tokens there, so about twice the hours.
# Disk: 14 GiB a host, three of them with the hub's, and 2 GiB of checkpoints.
set -eu

CAGUL=${CAGUL:-cagul}
HOST=${HOST:-llava-hf/llava-1.5-7b-hf}
BENCHMARK=${BENCHMARK:-gray311/FIUBench}
SET=${SET:-forget5}
OUT=${OUT:-runs/fiubench}
DEVICE=${DEVICE:-cuda}
DTYPE=${DTYPE:-bfloat16}
METHODS=${METHODS:-all}
FORMAT=fiubench
COMPAT="--compat fiubench"
UNSEEN="" # the people beyond the published 400 are the group "unseen"
MEMORISE="--lora --set gradient_checkpointing=true --set accumulate=4"
UNLEARN="--set training.gradient_checkpointing=true"
COMPARE=""

. "$(dirname "$0")/tiny.sh"
. "$(dirname "$0")/experiment.sh"

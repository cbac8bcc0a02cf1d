# TINY=1 runs the same steps on a CPU with a tiny host and a handful of people, in seconds: what CI runs.

if [ "${TINY:-}" = 1 ]; then
    DEVICE=cpu
    DTYPE=float32
    MEMORISE="--full --set steps=40 --set batch=8 --set rate=3e-3 --threads 1"
    UNLEARN="--set training.steps=12 --set training.batch=8 --set gate.augment=1 --threads 1"
    COMPARE="--quick --steps 4 --set training.steps=12 --set training.batch=8 --set gate.augment=1 --threads 1"
fi

"""How the demo is made: drawn people, invented facts, the vision tower and both hosts, from nothing but
seeds. Not in the wheel: run its modules from the repository's root, such as ``python -m demo_recipe.build``.

In the order in which they need each other: ``people`` draws persons and pictures, ``facts`` invents what is
true of them, ``population`` says who is in the demo and writes its records, ``vision_pretraining`` trains the
tower, ``hosts`` trains a host, ``host_metrics`` measures it, ``build`` makes everything. Beside the demo:
``extra_people`` draws more of them, ``gemma_host`` trains a host of a second family and ``french_host`` of a
third, with the facts and questions of ``french_facts``; ``scene_host`` trains one on people in ``scenes``,
after ``scene_pretraining``, with ``german_facts``; ``further_hosts`` holds what all of them need.
"""

import sys
from pathlib import Path


def require_repository_root() -> None:
    """Ends the process with a message when it does not run in the repository's root."""
    root = Path(__file__).resolve().parent.parent
    if Path.cwd() != root:
        sys.exit(f"This runs from the repository's root alone. Change to it: cd {root}")

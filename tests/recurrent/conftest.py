import os

import torch
from hypothesis import Phase, settings

# A counterexample is reported as found: shrinking a failing layer takes minutes and tells no more.
settings.register_profile("layers", phases=[Phase.explicit, Phase.generate], deadline=None)
settings.load_profile("layers")

torch.set_num_threads(1)  # the arrays are small: threads only wait for each other

if not torch.cuda.is_available():
    os.environ["TRITON_INTERPRET"] = (
        "1"  # read when a GPU program is defined: it then runs here, number by number
    )

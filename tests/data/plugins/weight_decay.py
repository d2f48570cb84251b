"""Weight decay: every algorithm minimises the loss plus (value / 2) |theta|^2, biases included.

    python -m simulate plugins=[weight_decay.py] dynamics=momentum dynamics.rules={weight_decay: 0.1} \
        dynamics.eta=0.1 observables=training output=outputs/decay
"""

from simulate.networks.dense import Parameters
from simulate.settings.reader import real
from simulate.settings.training import RULES, Rule
from simulate.training.algorithms import gradient_term

RULES.add(Rule("weight_decay", "(value / 2) |theta|^2 is added to the loss", lambda v: real(v, 0.0), "a number >= 0"))


@gradient_term("weight_decay")
def weight_decay(parameters: Parameters, value: float) -> Parameters:
    return Parameters([value * W for W in parameters.W], [value * b for b in parameters.b])

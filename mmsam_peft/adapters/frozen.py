"""What of a model no training changes."""

from torch import Tensor, nn

from ..peft import PEFTMethod


def frozen_weights(host: nn.Module, method: PEFTMethod) -> dict[str, Tensor]:
    """What the method leaves as it is: the parameters that it does not train, and what files hold
    beside parameters, such as the statistics of batch norms. As they are stored: all of them
    widened at once would take several times the model's memory."""
    parameters = {
        name: value for name, value in host.named_parameters() if name not in method.trained_names
    }
    return {**parameters, **kept_buffers(host)}


def kept_buffers(module: nn.Module) -> dict[str, Tensor]:
    """The buffers that are part of the state dict, by name."""
    named = dict(module.named_parameters(remove_duplicate=False))
    state = module.state_dict(keep_vars=True)
    return {name: value for name, value in state.items() if name not in named}

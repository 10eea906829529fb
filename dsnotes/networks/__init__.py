"""Networks: backbones that name their levels, heads that read them; one file a network, the figure of its paper."""

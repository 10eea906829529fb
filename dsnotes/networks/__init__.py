"""Networks: backbones with named levels, and heads that read them; one file per network."""

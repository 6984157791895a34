"""Options that make each family's nets tiny."""

TINY = {
    "mlp": {"width": 6, "code_width": 5},
    "dcgan": {"width": 2, "code_width": 5},
    "progressive": {"width": 2, "most": 4, "code_width": 5},
    "pixelcnn": {"width": 2, "layers": 2, "kernel": 3, "encoder_width": 2, "code_width": 5},
    "real-nvp": {"width": 2, "blocks": 1, "critic_width": 2, "code_width": 5},
}

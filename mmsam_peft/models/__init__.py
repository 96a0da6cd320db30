"""Models, built from configs through ``mmsam_peft.registry.MODELS``."""

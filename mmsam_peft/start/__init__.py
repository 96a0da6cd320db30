"""From a folder of images and labels to a config, with the reason for every choice."""

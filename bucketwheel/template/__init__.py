"""AWS SAM templates: what `template.yaml` declares, as declarations of functions and layers."""

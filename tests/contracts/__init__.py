"""What every member of a family passes; parametrised over the visible dicts, so that a new member is tested too."""

"""What a policy and its reward model are worth: win rates, accuracy, calibration, over-optimisation, warnings."""

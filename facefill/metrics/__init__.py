"""How good a completion is: conventions stated in each file, printed in each report."""

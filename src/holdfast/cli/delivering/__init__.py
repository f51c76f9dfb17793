"""`holdfast deliveries`: results that their targets have not got, and another try for those that were given up."""

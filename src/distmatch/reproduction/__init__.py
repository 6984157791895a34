"""The figures, tables and findings of the seeds as experiments whose claims get a verdict."""

"""Distance of codes from the prior: KL(q(z)‖p(z)) by Monte Carlo, by ratio and by density model; moments."""

"""Whether a holder is insured: asked of a service outside, once the authentication has succeeded."""

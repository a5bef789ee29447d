"""Where knowledge of revocation comes from: lists in an index, a responder, and the policy that orders them."""

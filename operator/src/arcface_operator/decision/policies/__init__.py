"""One module for each field of the spec that bounds a job; imports context, faults and plan, and nothing that acts."""

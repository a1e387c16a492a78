"""Five-point cascade of convolutional networks: three on face and halves, then two for each point at two levels, trained on HELEN.

Paper: Sun, Wang, Tang, "Deep Convolutional Network Cascade for Facial Point Detection", 2013.
Command: jaxface train cascade --workdir runs/cascade
Expected: a mean error of 4.60 % of the distance of the eye centres on HELEN's test photos, five points, see docs/alignment.md.
"""

from jaxface.alignment import CascadeExperiment

EXPERIMENT = CascadeExperiment(licence="research only", origin="HELEN (Le et al., 2012), iBUG")

# A check of the pipeline in about a minute.
SMALL = CascadeExperiment(name="cascade_small", squares=2, steps=100, batch_size=32, licence="research only", origin="HELEN (Le et al., 2012), iBUG")

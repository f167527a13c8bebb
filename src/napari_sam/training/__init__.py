"""Fine-tuning and evaluation of promptable models.

The recipe is that of Kirillov et al., "Segment Anything", ICCV 2023, and
Archit et al., "Segment Anything for Microscopy", Nature Methods 2025:
simulated users click, see the answer, and click again where it is wrong.
"""

/* A program that does nothing but act, or with FORM -1 nothing: what the policy adds to it. */
volatile float pin;

#if FORM >= 0
#include "act.h"

int main(void) {
  float obs[POLICY_OBS_DIM], action[POLICY_ACT_DIM];
  for (;;) {
    for (int i = 0; i < POLICY_OBS_DIM; i++) obs[i] = pin;
    ACT(obs, action);
    for (int i = 0; i < POLICY_ACT_DIM; i++) pin = action[i];
  }
}
#else
int main(void) {
  for (;;) pin = pin;
}
#endif

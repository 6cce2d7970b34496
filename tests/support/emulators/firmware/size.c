/* A program that does nothing but act, or with FORM -1 nothing: what the policy adds to it. */
volatile float pin;
volatile int port;

#if FORM >= 0
#include "act.h"

int main(void) {
  float obs[POLICY_OBS_DIM], action[POLICY_ACT_DIM];
  int index;
  for (;;) {
    for (int i = 0; i < POLICY_OBS_DIM; i++) obs[i] = pin;
    for (int i = 0; i < POLICY_ACT_DIM; i++) action[i] = 0;
    index = port;
    ACT(obs, action, index);
    for (int i = 0; i < POLICY_ACT_DIM; i++) pin = action[i];
    port = index;
  }
}
#else
int main(void) {
  for (;;) {
    pin = pin;
    port = port;
  }
}
#endif

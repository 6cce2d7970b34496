/* A micro-ROS node that holds a pendulum up with a policy that npr trained on Pendulum-v1.

   Subscribes to joint_state (std_msgs/Float32MultiArray: angle in rad, 0 where the pendulum is up,
   and speed in rad/s), and publishes torque (std_msgs/Float32) 20 times a second. */

#include <math.h>
#include <stdbool.h>

#include <rcl/rcl.h>
#include <rclc/executor.h>
#include <rclc/rclc.h>
#include <std_msgs/msg/float32.h>
#include <std_msgs/msg/float32_multi_array.h>

#define POLICY_IMPLEMENTATION
#include "policy.h"

#define PERIOD_MS 50 /* a step of Pendulum-v1 */
#define LARGEST_SPEED 8.0f
#define CHECK(call) \
    if ((call) != RCL_RET_OK) \
        return false

static rcl_publisher_t publisher;
static rcl_subscription_t subscription;
static rcl_timer_t timer;
static rclc_support_t support;
static rcl_node_t node;
static rclc_executor_t executor;

static float joint_state[2]; /* angle and speed; the memory of the message */
static std_msgs__msg__Float32MultiArray received = {.data = {joint_state, 0, 2}};
static bool known = false;

static void on_joint_state(const void *message)
{
    const std_msgs__msg__Float32MultiArray *one = message;
    known = one->data.size == 2;
}

static void on_timer(rcl_timer_t *fired, int64_t since_last_call)
{
    std_msgs__msg__Float32 torque;
    float obs[POLICY_OBS_DIM];

    (void)since_last_call;
    if (fired == NULL || !known) {
        return;
    }
    obs[0] = cosf(joint_state[0]);
    obs[1] = sinf(joint_state[0]);
    obs[2] = fmaxf(-LARGEST_SPEED, fminf(LARGEST_SPEED, joint_state[1]));
    policy_act(obs, &torque.data);
    (void)!rcl_publish(&publisher, &torque, NULL);
}

/* Whether the node runs; false also if the policy does not compute what npr did. */
bool pendulum_node_start(void)
{
    rcl_allocator_t allocator = rcl_get_default_allocator();
    float error;

    if (policy_selftest(&error) != 0) {
        return false;
    }
    CHECK(rclc_support_init(&support, 0, NULL, &allocator));
    CHECK(rclc_node_init_default(&node, "pendulum", "", &support));
    CHECK(rclc_publisher_init_default(
        &publisher, &node, ROSIDL_GET_MSG_TYPE_SUPPORT(std_msgs, msg, Float32), "torque"));
    CHECK(rclc_subscription_init_default(
        &subscription, &node, ROSIDL_GET_MSG_TYPE_SUPPORT(std_msgs, msg, Float32MultiArray),
        "joint_state"));
    CHECK(rclc_timer_init_default(&timer, &support, RCL_MS_TO_NS(PERIOD_MS), on_timer));
    CHECK(rclc_executor_init(&executor, &support.context, 2, &allocator));
    CHECK(rclc_executor_add_timer(&executor, &timer));
    CHECK(rclc_executor_add_subscription(
        &executor, &subscription, &received, on_joint_state, ON_NEW_DATA));
    return true;
}

/* To be called again and again, from the main loop or a task. */
void pendulum_node_spin(void)
{
    rclc_executor_spin_some(&executor, RCL_MS_TO_NS(10));
}
